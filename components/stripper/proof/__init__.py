"""The comparison of two models on whole data sets, on Beam."""
