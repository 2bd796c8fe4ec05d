"""OpenAI's and LangChain's clients against the server, in their newest versions: `make clients`."""
