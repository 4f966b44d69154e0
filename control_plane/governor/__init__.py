"""The one gate for every effect: whoever proposes it, it is checked, decided, executed and recorded here."""
