"""Todo."""


def page(plan, tables, command):  # noqa
    return ""
