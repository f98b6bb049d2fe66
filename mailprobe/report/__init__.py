"""The report: what the journal knows of a period, as text, Markdown, HTML or JSON, to be sent to the vendor."""
