"""What `make hardware` computes, draws and checks: circuits, harnesses, pin maps, bill of materials. Not installed anywhere."""
