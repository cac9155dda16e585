//! QUIC endpoints with mutual TLS.
