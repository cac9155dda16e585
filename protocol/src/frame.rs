//! Frames: length, version, kind, body.
