"""The calls of `AsyncClient`, one class per noun of the contract."""
