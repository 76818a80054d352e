"""What train-heads, finetune and ablate share: runs, the loop, live features."""
