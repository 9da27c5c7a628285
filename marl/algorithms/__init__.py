"""One file per algorithm family: its update rule and the state it keeps."""
