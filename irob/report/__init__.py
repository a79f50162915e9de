"""Numbers in; tables, figures and one HTML page out.  Nothing here touches a model.

    tables.table1, table3.table3       rows to tables        latex, csv   tables and rows to text
    figures.samples, robustness         arrays to figures     html.page    all of it on one page
    files.write                         all of it into a folder
"""
