"""The engine: a recipe compiled to a plan, and the plan applied to a study."""
