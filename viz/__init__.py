"""Pictures of environments and replays. Never imports torch; pygame only in `viz.screen`."""
