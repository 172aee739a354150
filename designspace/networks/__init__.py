"""What a network is: values, shapes, complexity. No torch."""
