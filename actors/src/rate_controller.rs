//! rate_controller
