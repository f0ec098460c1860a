#!/bin/bash
# Train over 2 nodes with 4 cards each: sbatch examples/slurm/train.sh SETTINGS.toml OUT
# (a dose network learns on cards; for a synthetic CT leave --gres and --device out: it learns on CPUs)
#SBATCH --job-name=rtplan-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:4
#SBATCH --cpus-per-task=32
#SBATCH --mem=64G
#SBATCH --time=24:00:00
set -euo pipefail

PROCESSES=4                                   # a node: one for each card
FIRST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# Each step is one batch of nodes × processes × optimise.batch patients; give optimise.steps, not hours.
srun torchrun \
  --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$PROCESSES" \
  --rdzv-backend c10d --rdzv-endpoint "$FIRST:29500" --rdzv-id "$SLURM_JOB_ID" \
  --no-python rtplan train "$1" --out "$2" --device cuda
