//! The control plane: builds generations, keeps them fresh, and talks to systemd.
