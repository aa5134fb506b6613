#!/usr/bin/env bash
# Keeps a history in a branch of its own of this repository. Several jobs may do so at once: runs are files of their own
# that are only ever added, so a push that comes second is repeated on top of the first.
#   scripts/history_branch.sh checkout FOLDER [BRANCH]    the branch as a folder; an empty one if it does not exist
#   scripts/history_branch.sh push FOLDER [BRANCH]        commits and pushes what was added to the folder
# BRANCH is `history` by default, and REMOTE in the environment is `origin`.
# Exit codes: 0 fine; 2 bad usage; 4 the branch cannot be fetched or pushed.
set -euo pipefail

MAX_TRIES=20
remote=${REMOTE:-origin}

usage() {
    sed -n '4,6s/^# *//p' "$0" >&2
    exit 2
}

fail() {
    echo "$1" >&2
    exit 4
}

checkout() {
    local folder=$1 branch=$2
    if [ -n "$(git ls-remote --heads "$remote" "refs/heads/$branch")" ]; then
        git fetch --quiet "$remote" "refs/heads/$branch"
        git worktree add --quiet --detach "$folder" FETCH_HEAD
    else
        git worktree add --quiet --detach "$folder"
        git -C "$folder" checkout --quiet --orphan "pvbench-$branch-$$"
        git -C "$folder" rm --quiet -r --force .
    fi
}

push() {
    local folder=$1 branch=$2 try
    cd "$folder"
    git add --all
    if ! git diff --cached --quiet; then
        git -c user.name=pvbench -c user.email=pvbench@localhost commit --quiet --message "Runs added by pvbench"
    fi
    for ((try = 1; try <= MAX_TRIES; try++)); do
        # Another job may push between the rebase and this push: then it is repeated, a little later each time.
        git push --quiet "$remote" "HEAD:refs/heads/$branch" && return
        sleep "$((RANDOM % try)).$((RANDOM % 10))"
        git fetch --quiet "$remote" "refs/heads/$branch"
        git -c user.name=pvbench -c user.email=pvbench@localhost rebase --quiet FETCH_HEAD ||
            fail "a file of the history differs from that of the branch; keep both, and add the run again"
    done
    fail "$MAX_TRIES pushes to $branch failed; the runs are in $folder, run this command again"
}

[ $# -ge 2 ] && [ $# -le 3 ] || usage
case $1 in
    checkout) checkout "$2" "${3:-history}" || fail "the branch cannot be fetched; see the message of git above" ;;
    push) push "$2" "${3:-history}" ;;
    *) usage ;;
esac
