"""The small process that stands over each job, so that the daemon may die without the job noticing.

Standard library only, and of that only what loads fast: no dataclasses, typing, pathlib or asyncio.
"""
