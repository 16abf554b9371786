"""An LLM server that speaks the real protocol and says what a script tells it to.

`with ScriptedLLM() as llm:` serves from a thread, `python -m tests.scripted_llm` from a process of its own.
"""

from tests.scripted_llm.script import LLAMA_CPP, OPENAI, REASONING, VLLM, Fault, Script
from tests.scripted_llm.server import ScriptedLLM
from tests.scripted_llm.service import Recorded

__all__ = ["LLAMA_CPP", "OPENAI", "REASONING", "VLLM", "Fault", "Recorded", "Script", "ScriptedLLM"]
