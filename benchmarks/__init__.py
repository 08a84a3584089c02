"""`python -m benchmarks`: convc beside PyTorch, ONNX Runtime, OpenVINO and ncnn. NOTES.md says how and why."""
