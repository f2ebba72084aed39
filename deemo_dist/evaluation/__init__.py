"""Evaluation: figures with intervals over predictions, ablation, subgroups, explanations, and the report."""

from deemo_dist.evaluation.ablation import BODY, MODALITIES, AblationRow, ablate, conditions
from deemo_dist.evaluation.driver import Evaluation, answers_of, available, evaluate, explain, show
from deemo_dist.evaluation.explanations import Explanation, choose
from deemo_dist.evaluation.facts import DeidFigures, Film, Picture, ReportData, StageCurve, deid_figures
from deemo_dist.evaluation.metrics import Estimate
from deemo_dist.evaluation.prediction import Prediction, by_generation, by_likelihood, parse_answer
from deemo_dist.evaluation.recognition import Recognition, recognise
from deemo_dist.evaluation.report import render_report, write_report
from deemo_dist.evaluation.subgroups import SubgroupRow, by_subgroup, widest_gap

__all__ = [
    "BODY",
    "MODALITIES",
    "AblationRow",
    "DeidFigures",
    "Estimate",
    "Evaluation",
    "Explanation",
    "Film",
    "Picture",
    "Prediction",
    "Recognition",
    "ReportData",
    "StageCurve",
    "SubgroupRow",
    "ablate",
    "answers_of",
    "available",
    "by_generation",
    "by_likelihood",
    "by_subgroup",
    "choose",
    "conditions",
    "deid_figures",
    "evaluate",
    "explain",
    "parse_answer",
    "recognise",
    "render_report",
    "show",
    "widest_gap",
    "write_report",
]
