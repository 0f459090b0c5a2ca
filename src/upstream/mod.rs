//! How members are reached: endpoints, the choice among them, connection pools, health.
