"""Networks, distributions, normalisers and optimiser steps: pure functions on trees of tensors."""
