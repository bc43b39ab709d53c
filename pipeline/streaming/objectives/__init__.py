"""Objectives: what a batch is made to teach. Numpy in, numpy out, so that the reader without torch has them too.

::

    batch of rows ──▶ objective(batch, context) ──▶ the same batch with corrupted input_ids and labels

==========================  =======================================================================================
MaskedLM                    ESM, ProtBert, AMPLIFY: hidden residues, at a rate, a noise schedule or a mixture of them
CausalLM                    the next token of a protein
BidirectionalLM             ProGen: the next token, of proteins some of which are read from C to N terminus
ConcatenatedLM              Transformer-XL: the next token of records that run on, across their borders
NucleotideLM                Evo 2: the same, of A, C, G and T alone
SpanCorruption              T5: spans behind sentinels, spelled out by a decoder
ResidueDenoising            ProtT5: single residues hidden, the whole protein spelled out by a decoder
AbsorbingDiffusion          DPLM: mask rates from a timestep, losses weighted by it
OrderAgnosticDiffusion      EvoDiff: a number of masks from a timestep, losses weighted by it
PermutationLM               XLNet: residues predicted in a random order
ReplacedTokenDetection      ELECTRA: the input of its generator; replaced_token_labels for its discriminator
==========================  =======================================================================================

They work segment by segment and draw their random numbers by counter, so that what a protein looks like depends on
(seed, epoch, record key, start) and never on the batch that it comes in (law 7). ``loss``, in a file of its own because
it needs torch, takes the mean of what a batch asks for: 0, not NaN, where it asks nothing.
"""

from pipeline.streaming.objectives.base import Batch as Batch
from pipeline.streaming.objectives.base import Objective as Objective
from pipeline.streaming.objectives.base import ObjectiveContext as ObjectiveContext
from pipeline.streaming.objectives.by_name import OBJECTIVES as OBJECTIVES
from pipeline.streaming.objectives.by_name import as_objective as as_objective
from pipeline.streaming.objectives.by_name import check_objective as check_objective
from pipeline.streaming.objectives.causal import CausalLM as CausalLM
from pipeline.streaming.objectives.causal import ConcatenatedLM as ConcatenatedLM
from pipeline.streaming.objectives.causal import LabelConvention as LabelConvention
from pipeline.streaming.objectives.causal import NucleotideLM as NucleotideLM
from pipeline.streaming.objectives.diffusion import AbsorbingDiffusion as AbsorbingDiffusion
from pipeline.streaming.objectives.diffusion import LossWeighting as LossWeighting
from pipeline.streaming.objectives.diffusion import OrderAgnosticDiffusion as OrderAgnosticDiffusion
from pipeline.streaming.objectives.directions import BidirectionalLM as BidirectionalLM
from pipeline.streaming.objectives.electra import ReplacedTokenDetection as ReplacedTokenDetection
from pipeline.streaming.objectives.electra import discriminator_input_ids as discriminator_input_ids
from pipeline.streaming.objectives.electra import replaced_token_labels as replaced_token_labels
from pipeline.streaming.objectives.masked_lm import MaskedLM as MaskedLM
from pipeline.streaming.objectives.permutation import PermutationLM as PermutationLM
from pipeline.streaming.objectives.residue_denoising import ResidueDenoising as ResidueDenoising
from pipeline.streaming.objectives.span_corruption import SpanCorruption as SpanCorruption
