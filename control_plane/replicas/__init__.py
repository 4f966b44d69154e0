"""Several control planes over one database: who leads, who is there, and how one hears of what another has done."""
