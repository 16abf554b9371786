"""Instructions in eight styles, and what the teacher is asked. Text meant for a model stands here and nowhere else."""

# Tried beside the instruction at hand ({ask}). {any} lists the labels with "or", {all} with commas.
INSTRUCTIONS = {
    "minimal": "{control} of the text: {any}.",
    "examples first": "Texts, and the {control} of each, which is {any}.",
    "expert": "You label texts for a living, with care. {ask}",
    "definitions": "{ask} Call to mind what each label means ({all}), then choose the one whose meaning fits the text.",
    "contrast": "{ask} Decide by what sets the labels apart, {any}, not by single words.",
    "steps": "{ask} Ask of each label in turn ({all}) whether it holds for the text, and choose what holds best.",
    "rubric": "{ask} Judge the text as a whole, by what its writer means; of several things the main counts.",
    "checklist": "{ask}\n1. Read the whole text.\n2. Find what speaks for each label.\n3. Choose {any}.",
}

# Of controls with more labels than this, or of several controls, the labels are not listed in the instruction.
MOST_LISTED = 12
UNLISTED = "one of the labels below"

TEACHER_HEAD = """You improve the instruction of a text classifier. Another, smaller model follows the instruction.

The task, in the words of the people who set it:
{guideline}

The instruction in use:
{instruction}

{labels}
"""
TEACHER_LABELS = "The labels of {control}: {labels}"
OWN_OPTIONS = "options that each task brings with it"
OTHER_OPTION = "another option"

TEACHER_CONFUSION = """
The model says "{said}" where the annotators decided "{truth}":
{errors}

Texts of the same labels that it gets right:
{correct}

Write at most two rules that make the model decide as the annotators do, without spoiling what it gets right. A rule is
one general sentence about what tells the labels apart. Do not quote the texts. Do not name labels that do not exist.
Answer with JSON only: {{"rules": ["...", "..."]}}
"""

TEACHER_DEFINITION = """
The model is often wrong about the label "{label}":
{errors}

Write a definition of "{label}" as the annotators use it: one or two sentences that say what belongs to it and what does
not. Do not quote the texts.
Answer with JSON only: {{"definition": "..."}}
"""

TEACHER_REWRITE = """
Texts with what the annotators decided:
{correct}

Texts that the model gets wrong:
{errors}

Write the instruction anew, {style}. Keep to the task and to its labels, speak to the model, and leave out everything
that it does not need. Do not quote the texts. At most 120 words.
Answer with JSON only: {{"instruction": "..."}}
"""

REWRITE_STYLES = (
    "from a blank slate, as you would explain the task to a new annotator",
    "as a short list of what decides in doubtful cases",
    "in at most two sentences",
)

EXAMPLE_LINE = '- "{text}" ({truth})'
ERROR_LINE = '- "{text}" (annotators: {truth}; model: {said})'
# In place of texts, for a teacher that may not see any.
COUNT_LINE = '- {count} of "{truth}", for which the model says "{said}"'
