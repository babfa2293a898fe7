//! The table of methods: requests, answers, refusals.
