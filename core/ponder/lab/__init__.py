"""The reward lab: saved rollouts scored anew, and what that shows of the rewards."""
