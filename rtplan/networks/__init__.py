"""Tensor in, tensor out: networks that know no patient."""
