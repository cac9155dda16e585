//! MessagePack with limits, and the iterative pre-scan before it.
