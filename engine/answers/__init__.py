"""Answers: prompts to tokens, one token after the other, guesses ahead, and what is likely at a place."""
