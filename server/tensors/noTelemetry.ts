/**
 * ONNX Runtime's binaries for Linux and macOS carry telemetry that is on by default: they make a device id and an event store in the user's folders
 * and upload to Microsoft. Nothing leaves this machine, so it is switched off in every process, before anything loads.
 */
process.env["ORT_DISABLE_TELEMETRY"] = "1";
