//! batch_generator
