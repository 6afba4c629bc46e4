"""A picture that a request refers to: a file part, a data: URL or, if that is on, an https URL."""

from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from serving.fields import ImageReference
from serving.outbound import OutboundError, fetch
from serving.uploads import MAX_IMAGE_BYTES, PICTURE, data_url_bytes, save_image
from serving.wire import ApiError

FETCH_WITHIN_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """`fetch_urls`: whether https URLs are fetched at all; see `serving.outbound` for how."""

    fetch_urls: bool
    private_hosts: tuple[str, ...]

    async def save(
        self,
        upload: UploadFile | None,
        reference: ImageReference | None,
        folder: Path,
        param: str,
        name: str = PICTURE,
    ) -> str:
        """Check the picture and store it in `folder` as `name`, which is returned.

        Raises:
            ApiError: there is none, or it cannot be had or decoded.
        """
        if upload is not None:
            data = await upload.read(MAX_IMAGE_BYTES + 1)
        elif reference is not None and reference.image_url is not None:
            data = await self._url_bytes(reference.image_url, param)
        elif reference is not None and reference.file_id is not None:
            raise ApiError(
                f"There is no file {reference.file_id[:80]!r}: this server keeps no uploaded "
                "files; send the picture itself as a file part or a data: URL.",
                param=param,
                code="file_not_found",
            )
        else:
            raise ApiError(
                f"{param} is empty; send a file part or image_url with a data: URL.", param=param
            )
        return await save_image(data, folder, param, name)

    async def _url_bytes(self, url: str, param: str) -> bytes:
        if url[:5].lower() == "data:" or not self.fetch_urls:
            return data_url_bytes(url, param)
        try:
            return await run_in_threadpool(
                fetch, url, self.private_hosts, MAX_IMAGE_BYTES, FETCH_WITHIN_S
            )
        except OutboundError as error:
            raise ApiError(f"{param}: {error}.", param=param, code="url_not_allowed") from error
