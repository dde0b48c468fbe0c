"""PostTrainingPruner: prunes trained models with examples, without their training code."""
