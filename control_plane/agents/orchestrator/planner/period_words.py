"""Words for periods of the past, in seven languages."""

from collections.abc import Mapping
from enum import Enum, auto

from control_plane.agents.orchestrator.planner.shadow import words


class Named(Enum):
    """A period that has a name of its own."""

    THIS_WEEK = auto()
    LAST_WEEK = auto()
    THIS_MONTH = auto()
    LAST_MONTH = auto()
    THIS_QUARTER = auto()
    LAST_QUARTER = auto()
    THIS_YEAR = auto()
    LAST_YEAR = auto()
    DAY_BEFORE_YESTERDAY = auto()
    EVER = auto()


NAMES: Mapping[Named, str] = {
    Named.THIS_WEEK: words(
        "this week|current week|diese woche|dieser woche|esta semana|cette semaine|questa settimana|week to date|"
        "so far this week",
        "本周|这周|这个星期|今週",
    ),
    Named.LAST_WEEK: words(
        "last week|past week(?= ?[?.!]?$)|previous week|letzte(?:n|r)? woche|(?:la )?semana pasada|"
        "(?:la )?semaine derniere|(?:la )?settimana scorsa|(?:a )?semana passada",
        "上周|上个星期|先週",
    ),
    Named.THIS_MONTH: words(
        "this month|current month|month to date|mtd|diese[nmr]? monat|este mes|ce mois(?:-ci)?|questo mese",
        "本月|这个月|今月",
    ),
    Named.LAST_MONTH: words(
        "last month|previous month|letzte[nmr]? monat|(?:el )?mes pasado|(?:le )?mois dernier|(?:il )?mese scorso|"
        "(?:o )?mes passado",
        "上个?月|先月",
    ),
    Named.THIS_QUARTER: words("this quarter|current quarter|quarter to date|qtd"),
    Named.LAST_QUARTER: words("last quarter|previous quarter"),
    Named.THIS_YEAR: words(
        "this year|current year|year to date|ytd|dieses jahr|este ano|cette annee|quest'anno", "今年"
    ),
    Named.LAST_YEAR: words(
        "last year|previous year|letztes jahr|(?:el )?ano pasado|l'annee derniere|l'anno scorso|ano passado", "去年"
    ),
    Named.DAY_BEFORE_YESTERDAY: words("(?:the )?day before yesterday|vorgestern|anteayer|avant-hier", "前天|一昨日"),
    Named.EVER: words(
        "ever|in total|in all|all time|of all time|altogether|overall|since the (?:beginning|start)|to date|"
        "insgesamt|en total|au total|in totale"
    ),
}
"""What each is called, as regular expressions over folded text."""
