"""What reaches the robot: one sealed file with the policy and its contract, and the few lines that run it.

`runtime` and what it imports need numpy and onnxruntime alone; `export` needs onnx too; nothing here needs a
learner. Import the modules themselves: this file stays empty so that a robot loads only what it uses.
"""
