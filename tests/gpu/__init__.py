"""Ready for a GPU without one: rules as PTX and under Numba's CUDA simulator, learners on a GPU that is not there."""
