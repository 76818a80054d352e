"""The trainable maths: tensors in, tensors out; no files, no flags."""
