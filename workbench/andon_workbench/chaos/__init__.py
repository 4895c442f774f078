"""Kill -9 of the gateway at random points under load, and an account of every acknowledged reading (docs/chaos.md)."""
