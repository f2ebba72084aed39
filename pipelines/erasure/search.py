"""Who is to be erased, and where they are: manifests, keys under every dataset's name, versions.

The same look is taken when an erasure is decided, again once nobody else can begin one and the person is kept out, and
at its end: whatever came in meanwhile belongs to it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from deemo_dist.config import RunConfig
from deemo_dist.dataset import manifest_digest, read_manifest
from deemo_dist.dataset.layout import manifest_key
from deemo_dist.dataset.lifecycle.erasure import Erasure, ManifestChange, samples_of, with_versions
from deemo_dist.dataset.lifecycle.suppression import Row, token_of
from deemo_dist.dataset.lifecycle.versions import Version, key_names, list_versions
from deemo_dist.deid import KeyRing
from deemo_dist.deid.keys import person_token
from deemo_dist.errors import ConfigError, DatasetError, NotFoundError
from deemo_dist.records import Clip, plain_subject
from deemo_dist.storage import Store
from pipelines.erasure.pending import Asked
from pipelines.erasure.unseen import unseen_versions
from pipelines.erasure.withdrawn import spellings, withdrawn_subjects

Manifests = dict[str, list[Clip]]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a look found: the ``erasure`` with all that belongs to it now; whether a manifest names the person
    (``named``), and whether one in the store does (``left``)."""

    erasure: Erasure
    named: bool
    left: bool


class Search:
    """Looks for people under a prefix. ``given``: the URI of a manifest besides those in the store; ``without``: go on
    where clips are in no manifest. Each manifest is read once: its name is its digest."""

    def __init__(self, config: RunConfig, store: Store, ring: KeyRing, given: str | None, *, without: bool) -> None:
        self.config, self.store, self.ring = config, store, ring
        self.given, self.without = given, without
        self._read: Manifests = {}

    def look(self, before: Erasure, asked: Asked | None = None) -> Found:
        """Look for the person of an erasure, and of who was ``asked`` for.

        Raises ``DatasetError`` for clips of which nothing says whose they are, ``CorruptDataError`` for a damaged
        manifest or version.
        """
        versions = list_versions(self.store)
        own = self._own()
        manifests = {**own, **self._given(own)}
        rings = self.rings(versions)
        people = self._people(before, rings, {clip.subject for clips in manifests.values() for clip in clips})
        names = people | (spellings(asked.subject) if asked is not None and asked.subject is not None else set())
        clips = [clip for clips in manifests.values() for clip in clips if clip.subject in people]
        subjects = {*before.subjects, *(ring.subject_key(name) for ring in rings for name in names)}
        samples = {*before.samples, *(ring.sample_key(clip.uri) for ring in rings for clip in clips)}
        samples |= samples_of(self.store, versions, subjects)
        known = {each.old for each in before.manifests}
        changes = [each for each in self._changes(own, people) if each.old not in known]
        begun_from = {*before.begun_from, *self._digests(manifests, people)}
        found = replace(
            before,
            subjects=tuple(sorted(subjects)),
            samples=tuple(sorted(samples)),
            rows=self._rows(before.rows, subjects, samples, people),
            manifests=(*before.manifests, *changes),
            begun_from=tuple(sorted(begun_from)),
            unseen=self._unseen(before, versions, manifests, begun_from),
        )
        grown = (found.subjects, found.samples) != (before.subjects, before.samples)
        found = with_versions(self.store, versions, found, grown=grown)
        left = any(clip.subject in people for clips in own.values() for clip in clips)
        return Found(erasure=found, named=bool(clips), left=left)

    def refuse_without_manifest(self) -> None:
        """Raise ``ConfigError`` where there is no manifest at all; the one that was given must be there."""
        own = self._own()
        if self.given and self.given not in {self.store.uri(key) for key in own}:
            self._read[self.given] = read_manifest(self.given, self.config.storage)
        if not own and not self._given(own) and not self.without:
            raise ConfigError(
                "there is no manifest: clips of the person that were rejected would stay in the ledger",
                hint="--manifest URI of what was preprocessed; or --without-manifest where no clip was rejected",
            )

    def rings(self, versions: Sequence[Version]) -> list[KeyRing]:
        """The root key's sub-keys by every dataset's name that made keys under it."""
        names = {self.config.data.name}
        for version in versions:
            if version.header is not None and version.header.key_id == self.ring.key_id:
                names |= {version.name, *key_names(version.name, version.header)}
        return [self.ring.of(name) for name in sorted(names)]

    def without_person(self, erasure: Erasure, clips: Sequence[Clip]) -> list[Clip]:
        """``clips`` without those of the person."""
        rings = self.rings(list_versions(self.store))
        people = self._people(erasure, rings, {clip.subject for clip in clips})
        return [clip for clip in clips if clip.subject not in people]

    def _people(self, erasure: Erasure, rings: Sequence[KeyRing], subjects: Collection[str]) -> set[str]:
        """Who of the raw ``subjects`` is the person, in all their spellings."""
        tokens = {row.token for row in erasure.rows if row.kind == "person"}
        key = self.ring.suppression_key() if tokens else b""
        found = {
            plain_subject(subject)
            for subject in subjects
            if any(ring.subject_key(subject) in erasure.subjects for ring in rings)
            or any(person_token(key, name) in tokens for name in (spellings(subject) if tokens else ()))
        }
        return {subject for subject in subjects if plain_subject(subject) in found}

    def _own(self) -> Manifests:
        """The store's own manifests, by key."""
        found: Manifests = {}
        for key in self.store.list("manifests"):
            if key not in self._read:
                try:
                    self._read[key] = read_manifest(self.store.uri(key), self.config.storage)
                except NotFoundError:  # replaced by another process since it was listed
                    continue
            found[key] = self._read[key]
        return found

    def _given(self, own: Manifests) -> Manifests:
        """The manifest of the command or of the run, where it is none of the store's ``own``. One that was in the store
        and was replaced is passed over."""
        wanted = self.given or self.config.data.manifest
        if not wanted or wanted in {self.store.uri(key) for key in own}:
            return {}
        if wanted not in self._read:
            try:
                self._read[wanted] = read_manifest(wanted, self.config.storage)
            except NotFoundError:
                if not wanted.startswith(f"{self.store.uri('manifests')}/"):
                    raise
                return {}
        clips = self._read[wanted]
        return {} if manifest_key(manifest_digest(clips)) in own else {wanted: clips}

    def _changes(self, own: Manifests, people: set[str]) -> list[ManifestChange]:
        """What becomes of the store's manifests that name the person: they lose whoever withdrew before as well."""
        found: list[ManifestChange] = []
        for key, clips in own.items():
            if not any(clip.subject in people for clip in clips):
                continue
            out = people | withdrawn_subjects(clips, self.store, self.ring)
            kept = [clip for clip in clips if clip.subject not in out]
            digest = manifest_digest(kept) if kept else None
            new = manifest_key(digest) if digest else None
            found.append(ManifestChange(old=key, new=new, old_digest=manifest_digest(clips), new_digest=digest))
        return found

    def _digests(self, manifests: Manifests, people: set[str]) -> set[str]:
        """Digests of the manifests that name the person, as they are and without those who withdrew before: of either
        preprocessing may be under way."""
        found: set[str] = set()
        for clips in manifests.values():
            if any(clip.subject in people for clip in clips):
                out = withdrawn_subjects(clips, self.store, self.ring) - people
                left = [clip for clip in clips if clip.subject not in out]
                found |= {manifest_digest(clips), manifest_digest(left)}
        return found

    def _rows(
        self, before: Collection[Row], subjects: Collection[str], samples: Collection[str], people: Collection[str]
    ) -> tuple[Row, ...]:
        """What keeps the person out from now on."""
        key = self.ring.suppression_key() if people else b""
        names = {name for person in people for name in spellings(person)}
        rows = {
            *before,
            *(token_of("subject", each) for each in subjects),
            *(token_of("sample", each) for each in samples),
            *(Row("person", person_token(key, name)) for name in names),
        }
        return tuple(sorted(rows))

    def _unseen(
        self, before: Erasure, versions: Sequence[Version], manifests: Manifests, begun_from: Collection[str]
    ) -> tuple[str, ...]:
        """Versions with rejected clips that are in no manifest, those that are known included. Raises ``DatasetError``
        for another one unless that was accepted."""
        made = {each.new for each in before.replaced}
        looked = [version for version in versions if version.label not in made]
        found = unseen_versions(self.store, looked, self.ring, list(manifests.values()), begun_from)
        new = sorted(set(found) - set(before.unseen))
        if new and self.given is None and not self.without:
            clips = sum(found[label] for label in new)
            raise DatasetError(
                f"{clips} rejected clips of {', '.join(new)} are in no manifest that was read: the person's would stay",
                hint="--manifest ORIGINAL, the one it was made from; or --without-manifest where none is the person's",
            )
        return tuple(sorted({*before.unseen, *found}))
