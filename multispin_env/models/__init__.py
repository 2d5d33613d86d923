"""Real language models: profile them, record how they draft, and let them draft live (extra ``models``)."""
