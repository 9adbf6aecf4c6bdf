"""Episodes and advantages in, new weights out; knows no environment and no agent."""
