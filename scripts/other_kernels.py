"""Prints the value of TF_ENABLE_ONEDNN_OPTS that gives TensorFlow the kernels which it does not use now.

Which of the two it uses depends on the variable, and without it on the processor.
"""

from tensorflow.python.util import _pywrap_util_port

print(int(not _pywrap_util_port.IsMklEnabled()))
