//! Pinned cores, rings, doorbells, chunks and the plan that places them.
