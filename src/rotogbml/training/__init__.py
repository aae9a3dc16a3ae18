"""Room 6: Algorithm 1 from minibatch to minibatch, and everything that keeps a run safe."""
