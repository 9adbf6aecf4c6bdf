"""What `himac init NAME` copies: a world, its expert, a recipe and a test to start from. himac itself imports none of it."""
