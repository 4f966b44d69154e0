"""Reasoning: one way to ask any OpenAI-compatible endpoint, within limits of time, tokens and money."""
