"""Who is who: certificates, passwords, tokens, API keys and roles."""
