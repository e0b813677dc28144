"""Export models as Paddle Inference programs (and ONNX files) checked against the model, and run them without it."""
