//! Where members come from: sources, the member list, its refresh and its cache.
