"""Errors that a user can act on, by kind.

The command line prints their message, one or two lines that say what is wrong, where, and what to do next,
and exits with their code. The feature store knows nothing of akit: its `acoustic_store.StoreError`, an OSError exported
as `acoustic_kit.StoreError`, passes through akit unchanged and is printed in the same way. Every other exception is a
defect of akit and shows its traceback.
"""


class AkitError(Exception):
    """A failure that the user can fix; exit code 1. Raised itself if no sub-class fits: a file, a device, weights.

    >>> try:
    ...     akit.open_workspace("elsewhere")
    ... except akit.AkitError as error:
    ...     print(error)
    """

    exit_code = 1


class DataError(AkitError):
    """Clips, label tables, a manifest, an archive or a download is missing, damaged or inconsistent.

    >>> try:
    ...     ws.update()
    ... except akit.DataError as error:
    ...     print(error)
    """


class RecipeError(AkitError):
    """A recipe cannot be found or loaded, or does not keep its contract.

    >>> try:
    ...     akit.load_recipe("my_recipe.py")
    ... except akit.RecipeError as error:
    ...     print(error)
    """


class RunError(AkitError):
    """A run, its models or its predictions are missing, damaged, or do not fit the request.

    >>> try:
    ...     ws.predict("my_recipe-1a2b3c4d", ["a.wav"])
    ... except akit.RunError as error:
    ...     print(error)
    """


class SubmissionError(AkitError):
    """A submission, its record or its template is invalid, or Kaggle refuses it.

    >>> try:
    ...     ws.submissions.submit("submissions/first.csv", "first")
    ... except akit.SubmissionError as error:
    ...     print(error)
    """


class UsageError(AkitError):
    """Options or arguments are invalid or contradict each other; exit code 2.

    >>> try:
    ...     ws.run("my_recipe", epoch=20)  # the setting is called epochs
    ... except akit.UsageError as error:
    ...     print(error)
    """

    exit_code = 2


class AkitWarning(UserWarning):
    """Something that the user should know of the data or a run, such as clips used both for training and for scoring.

    >>> warnings.simplefilter("ignore", akit.AkitWarning)
    """
